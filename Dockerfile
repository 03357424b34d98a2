# mmcell on a CPU or on NVIDIA GPUs:
#
#     docker build -t mmcell .
#     docker build -t mmcell:cuda --build-arg BASE=nvidia/cuda:12.8.1-devel-ubuntu24.04 \
#         --build-arg TORCH='torch==2.13.0 --index-url https://download.pytorch.org/whl/cu128' --build-arg FORCE_CUDA=1 .
#     docker run --rm -v "$PWD:/data" mmcell infer --model consep /data/images --out /data/out
#
# Compiling mmcv takes 15 to 20 minutes on two cores. For GPUs, the CUDA versions of BASE and TORCH must match;
# TORCH_CUDA_ARCH_LIST names the GPU architectures to compile for.
ARG BASE=ubuntu:24.04
FROM ${BASE}

RUN apt-get update && apt-get install -y --no-install-recommends g++ python3 python3-dev python3-venv && \
    rm -rf /var/lib/apt/lists/*

ARG TORCH="torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu"
ARG FORCE_CUDA=0
ARG TORCH_CUDA_ARCH_LIST=
ENV VENV=/opt/mmcell PATH=/opt/mmcell/bin:$PATH

WORKDIR /src
COPY . .
RUN TORCH="${TORCH}" FORCE_CUDA="${FORCE_CUDA}" TORCH_CUDA_ARCH_LIST="${TORCH_CUDA_ARCH_LIST}" tools/setup.sh && \
    rm -rf /root/.cache

WORKDIR /data
ENTRYPOINT ["mmcell"]
CMD ["--help"]
