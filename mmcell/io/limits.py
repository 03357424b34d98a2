"""How much outside files may ask for. What asks for more is refused before anything is allocated for it.

The limits lie far above real data and within what a machine that trains has.
"""

#: Pixels of an image or a label map that is read as a whole; as float32 a larger one would not fit into memory.
MAX_PIXELS = 2**29

#: Pixels of an image that masks belong to: COCO's RLE counts in 32 bits.
MAX_MASK_PIXELS = 2**32 - 1

#: Pixels of a slide, whose cells are found region by region: a meter of glass at 0.25 microns per pixel has fewer.
MAX_SLIDE_PIXELS = 2**40

#: Bytes of all pixels of one file as stored: `MAX_PIXELS` of RGBA at 16 bits, or of ids as float64.
MAX_IMAGE_BYTES = 2**32

#: Bytes of a JSON file. As Python objects it can take twenty times as much.
MAX_JSON_BYTES = 2**29

#: Bytes of an XML file with outlines, its elements, and how deep they are nested.
MAX_XML_BYTES = 2**26
MAX_XML_ELEMENTS = 2**22
MAX_XML_DEPTH = 64

#: Ids of images, categories and annotations: what a double, and with it every JSON reader, holds exactly.
MAX_ID = 2**53

#: Steps of a pixel along one polygon: pycocotools walks it in fifths of a pixel and keeps each, so that this many
#: take a third of a gigabyte.
MAX_OUTLINE = 2**22

#: Pixels of bounding boxes times vertices, summed over the regions of an image: half a minute's work. A thousand cells
#: of 30 x 30 pixels and 100 vertices need a hundredth of it.
MAX_FILL_WORK = 2**33

#: Pixels of all masks of one image in training, those in several counted as often: label maps are made of them.
MAX_COVERED = 2**28

#: Microns per pixel of an image that holds cells.
MIN_MPP, MAX_MPP = 0.01, 10

#: What numpy's and torch's generators both take as a seed.
MAX_SEED = 2**32 - 1
