"""What a plugin may offer tsai. A plugin is an object with `hookimpl`s, named by an entry point of the group `tsai`;
it imports tsai inside its hooks."""
from pluggy import HookimplMarker, HookspecMarker

__all__ = ['hookimpl', 'hookspec', 'TsaiHooks', 'HOOKS']

hookspec, hookimpl = HookspecMarker('tsai'), HookimplMarker('tsai')


class TsaiHooks:
    "Every hook is optional, and called once."
    @hookspec
    def tsai_batch_tfms(self) -> dict: # {name: transform class}
        "Transforms for `batch_tfms`; a star import of tsai brings them along."

    @hookspec
    def tsai_archs(self) -> dict: # {name: class that takes c_in, c_out and, where it needs it, seq_len}
        "Architectures for `get_arch`, `all_arch_names`, `build_ts_model` and whatever takes `arch='name'`."

    @hookspec
    def tsai_randaugs(self) -> list: # Transforms, or (transform, lowest magnitude, highest magnitude)
        "Entries for `all_TS_randaugs`, from which `RandAugment` draws."

    @hookspec
    def tsai_names(self) -> dict: # {name: object}
        "Learners, callbacks and whatever else a star import of tsai should bring along."


HOOKS = dict(tsai_batch_tfms=dict, tsai_archs=dict, tsai_randaugs=list, tsai_names=dict) # {hook: what it gives}
