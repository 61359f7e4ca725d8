"""The sections of the page on the studies: a file each, and a section that says how to get what is not there yet."""

from collections.abc import Iterator

from lj_vae_hpc.report.page import Section, command
from lj_vae_hpc.report.results import Results
from lj_vae_hpc.report.studies import completion, generation, latent, reconstruction

SECTIONS = {
    "reconstruction": ("Reconstruction", reconstruction.section), "generation": ("Generation", generation.section),
    "completion": ("Missing data", completion.section), "latent": ("Latent dimensions", latent.section),
}  # fmt: skip
"""Title and maker by the name of the study."""


def sections(results: Results) -> Iterator[Section]:
    """A section for every study; what to run for those that there are not."""
    for name, (title, make) in SECTIONS.items():
        found = results.studies.get(name)
        if found is None:
            yield Section(title, "", missing=command(results.run.path, *_asking_for(results, name)))
        elif "left_out" in found:
            yield Section(title, f"Left out: {found['left_out']}.")
        else:
            yield make(results, found)


def _asking_for(results: Results, study: str) -> list[str]:
    """The key that asks for a study, if the configuration does not, with those that there are."""
    own = results.config.evaluation.studies
    every = dict.fromkeys([*own, *results.studies, study])
    return [] if study in own else [f"evaluation.studies=[{','.join(every)}]"]
