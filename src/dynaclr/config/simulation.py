"""Parameters of a simulated experiment: the block `simulation` of an experiment entry."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from dynaclr.config.fields import ConfigModel

# What can be drawn, and the columns of the tables beside the tracks.
MARKERS = ("phase", "nucleus", "reporter")
SIMULATED_COLUMNS = {
    "annotations": ("mitotic", "divides_within_3", "cell_state"),
    "truth": ("infected", "responder", "onset_hours", "response", "responding"),
}


class SimulationConfig(ConfigModel):
    """How `dynaclr simulate` makes an experiment with known truth.

    Name, channels, wells, frame interval, start hour and pixel size come from the entry itself;
    this block holds the rest.
    """

    seed: int = Field(0, ge=0, description="Seed of everything random in this experiment.")

    frames: int = Field(30, ge=1, description="Frames of the movie.")
    height: int = Field(288, ge=32, description="Height of a field of view in pixels.")
    width: int = Field(288, ge=32, description="Width of a field of view in pixels.")
    fovs_per_well: int = Field(1, ge=1, description="Fields of view in each well.")
    ngff: Literal["0.4", "0.5"] = Field(
        "0.4", description="NGFF version of the plate: 0.4 is Zarr format 2, 0.5 is Zarr format 3."
    )
    chunk: int = Field(256, ge=16, description="Edge of a chunk in pixels.")
    shard_frames: int | None = Field(
        None, ge=1, description="Frames in a shard (NGFF 0.5 alone); default: no shards."
    )

    cells: int = Field(22, ge=1, description="Cells expected in a field of view at frame 0.")
    diameter_um: float = Field(14.0, gt=0, description="Diameter of a cell in mid-cycle, in um.")
    cycle_hours: float = Field(16.0, gt=2, description="Mean hours from one division to the next.")
    speed_um_per_hour: float = Field(8.0, ge=0, description="Root mean square speed of a cell.")
    variability: float = Field(
        0.35,
        ge=0,
        description="Relative spread between cells in brightness, texture and organelle shape.",
    )
    heritability: float = Field(
        0.7, ge=0, le=1, description="Correlation of a daughter's traits with its mother's."
    )

    infected_conditions: tuple[str, ...] = Field(
        ("infected",), description="Conditions in which cells are infected."
    )
    infected_fraction: float = Field(
        0.85, ge=0, le=1, description="Share of cells infected in those conditions."
    )
    responder_fraction: float = Field(
        0.6, ge=0, le=1, description="Share of infected cells that respond."
    )
    onset_hours: float = Field(
        5.0, description="Mean hour post infection at which responses begin."
    )
    onset_hours_sd: float = Field(
        1.5, ge=0, description="Spread of the onset between cells, hours."
    )
    rise_hours: float = Field(
        3.0, gt=0, description="Median hours from the onset of a response to its full extent."
    )
    inherit_probability: float = Field(
        0.7,
        ge=0,
        le=1,
        description="Chance that a daughter inherits her mother's response; else it is drawn.",
    )
    responding_above: float = Field(
        0.3, ge=0, lt=1, description="A cell counts as responding when its response is above this."
    )

    psf_um: float = Field(0.35, ge=0, description="Standard deviation of the point spread, um.")
    focus_drift_um: float = Field(0.6, ge=0, description="Standard deviation of the focus, um.")
    phase_photons: float = Field(900.0, gt=0, description="Photons a pixel of the phase image.")
    fluorescence_photons: float = Field(
        60.0, gt=0, description="Mean photons a pixel of a cell in fluorescence."
    )
    background_photons: float = Field(
        15.0, ge=0, description="Photons a pixel of background in fluorescence."
    )
    gain: float = Field(1.0, gt=0, description="Counts a photon.")
    offset: float = Field(100.0, ge=0, description="Counts of the camera without light.")
    read_noise: float = Field(2.0, ge=0, description="Standard deviation of the read-out, counts.")
    vignetting: float = Field(
        0.15, ge=0, lt=1, description="Share of light missing in the corners of the field of view."
    )
    batch_effect: float = Field(
        1.0,
        ge=0,
        le=3,
        description="Strength of technical differences between experiments and between wells; "
        "0: no differences.",
    )
    confounding: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Share of the technical variance between wells that goes with the condition.",
    )

    tracking_error_um: float = Field(0.3, ge=0, description="Error of a tracked position, um.")
    missed_fraction: float = Field(
        0.01, ge=0, lt=1, description="Share of observations that the tracker misses."
    )
    annotated_fraction: float = Field(
        0.5, ge=0, le=1, description="Share of tracks that a person has annotated."
    )

    @model_validator(mode="after")
    def _shards_need_zarr_3(self) -> SimulationConfig:
        if self.shard_frames is not None and self.ngff == "0.4":
            raise ValueError("shard_frames needs shards, which NGFF 0.4 has not; set ngff to '0.5'")
        return self
