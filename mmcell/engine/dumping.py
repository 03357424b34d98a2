"""The config that a run writes into its folder and its checkpoints."""

from __future__ import annotations

from pathlib import Path

from mmengine.config import Config

from mmcell.io.files import write_bytes


class WholeConfig(Config):
    """A config whose file is the old one or the new one, and whose text lets Ctrl-C through.

    mmengine opens the file first and then formats the text, which takes a fifth of a second: a kill in between leaves
    an empty file. It does so with each checkpoint, too, and takes whatever comes in the meantime, a signal as well, for
    a fault of the text.
    """

    @classmethod
    def of(cls, config: Config) -> WholeConfig:
        """The same config; what is changed in one is changed in the other."""
        whole = cls.__new__(cls)
        whole.__dict__.update(config.__dict__)
        return whole

    @property
    def pretty_text(self) -> str:
        """The config as Python, formatted."""
        try:
            return super().pretty_text
        except SyntaxError as error:
            if isinstance(error.__context__, KeyboardInterrupt):
                raise error.__context__ from None
            raise

    def dump(self, file: str | Path | None = None) -> str | None:
        """Write the config, or return it as text if there is no file."""
        if file is None or not str(file).endswith('.py'):
            return super().dump(file)
        write_bytes(file, self.pretty_text.encode())
        return None
