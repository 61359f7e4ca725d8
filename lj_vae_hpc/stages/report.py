"""Writes the page from what the other stages have left in the run's folder so far."""

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.report.panels import write_panels
from lj_vae_hpc.report.results import Results, readable
from lj_vae_hpc.report.run_page import page_of
from lj_vae_hpc.run.files import write_text
from lj_vae_hpc.run.folder import RunDir


def report(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: writes report/index.html, and every figure with its data into report/figures. One rank works.

    Raises:
        UserError: what an earlier stage has left cannot be read.
    """

    def write() -> None:
        with readable(run):
            page, panels = page_of(Results.read(run, config))
        write_panels(run.report.parent / "figures", panels)
        write_text(run.report, page.render())
        print(f"report: open {run.report} in a browser", flush=True)
        for warning in page.warnings:
            print(f"report: warning: {warning}", flush=True)

    world.on_root(write)
