"""An experiment's entry: the only definition of its keys, their types and defaults."""

from __future__ import annotations

from datetime import date as day
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from dynaclr.config.columns import UNKNOWN, check_column_name
from dynaclr.config.fields import (
    ConfigModel,
    ConfigPath,
    Fact,
    Label,
    Name,
    Well,
)
from dynaclr.config.simulation import MARKERS, SimulationConfig


def _number_as_text(value: Any) -> Any:
    return str(value) if type(value) is int else value


_ChannelName = Annotated[str, BeforeValidator(_number_as_text, json_schema_input_type=str | int)]


class ChannelConfig(ConfigModel):
    """One channel of a plate and what it shows."""

    name: _ChannelName = Field(
        description="Name of the channel in the plate, or its number from 0 where none is so named."
    )
    marker: Label = Field(
        description="What the channel shows, the same word in every experiment: phase, nucleus ..."
    )
    wells: list[Well] | None = Field(
        None, description="Wells (row/column) in which the marker is present; default: all."
    )


class PatchStoreConfig(ConfigModel):
    """How the patches of an experiment are stored for training."""

    dtype: Literal["native", "float16", "uint8"] = Field(
        "native",
        description="Type of the pixels: the plate's own, or normalized as the models ask for.",
    )
    compressor: Literal["none", "zstd", "lz4"] = Field(
        "none", description="What the crops are compressed with; none reads fastest."
    )


class ExperimentConfig(ConfigModel):
    """One time-lapse experiment: an OME-Zarr plate, its tracks, and what was done to the cells."""

    name: Name = Field(description="Unique name; also the folder name of its results.")
    data_path: ConfigPath = Field(description="OME-Zarr plate (HCS layout, NGFF 0.1 to 0.5).")
    tracks_path: ConfigPath = Field(
        description="Folder with one tracking table a field of view at <row>/<column>/<fov>/: "
        "text, Parquet or a GEFF store (which that folder itself may be)."
    )
    tracks_unit: Literal["pixel", "um"] = Field(
        "pixel", description="Unit of the positions in the tracking tables."
    )
    tracks_first_frame: int = Field(
        0, ge=0, description="Number of the movie's first frame in the tracking tables."
    )
    channels: list[ChannelConfig] = Field(min_length=1, description="Channels to use.")
    condition_wells: dict[Label, list[Well]] = Field(
        min_length=1, description="Condition to the wells (row/column) that received it."
    )
    interval_minutes: float = Field(ge=0.01, description="Minutes from one frame to the next.")
    start_hpi: float = Field(
        ge=-10_000,
        le=10_000,
        description="Hours post infection (or perturbation) at frame 0; may be negative.",
    )
    annotations: ConfigPath | None = Field(
        None,
        description="CSV or Parquet of labels keyed by fov (or fov_name), and optionally by "
        "track_id and t; each other column becomes an index column.",
    )
    truth: ConfigPath | None = Field(
        None, description="CSV or Parquet of known truth, keyed alike; read by evaluation alone."
    )
    organelle: Label | None = Field(None, description="Organelle or structure of interest.")
    microscope: Label | None = Field(None, description="Microscope it was imaged on.")
    cell_type: Label | None = Field(None, description="Cell line or type.")
    date: str | None = Field(None, description="Day of imaging, YYYY-MM-DD.")
    moi: float | None = Field(None, ge=0, description="Multiplicity of infection.")
    pixel_size_um: float | None = Field(
        None, gt=0, description="Pixel size in micrometres; default: the plate's own metadata."
    )
    include_wells: list[Well] | None = Field(
        None, description="Use only these wells; default: all that have a condition."
    )
    exclude_fovs: list[str] = Field(
        default_factory=list, description="Fields of view (row/column/fov) to leave out."
    )
    metadata: dict[str, Fact] = Field(
        default_factory=dict, description="Anything else; each key becomes an index column."
    )
    empty_chunks: bool = Field(
        False,
        description="The plate's writer left out chunks that hold no signal: one that is not "
        "there counts as empty instead of as missing.",
    )
    unreadable: Literal["error", "skip"] = Field(
        "error",
        description="Pixels that are missing, damaged, NaN or infinite: `error` ends the stage; "
        "`skip` leaves out what needs them, and logs which and how many.",
    )
    patches: bool | PatchStoreConfig = Field(
        False,
        description="Whether the patches of its cells are stored for training, and how.",
    )
    simulation: SimulationConfig | None = Field(
        None, description="When given, `dynaclr simulate` makes the plate, tracks and truth."
    )

    @field_validator("date")
    @classmethod
    def _date_is_a_day(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                day.fromisoformat(value)
            except ValueError:
                raise ValueError(f"{value!r} is no day; write YYYY-MM-DD") from None
        return value

    @field_validator("metadata")
    @classmethod
    def _metadata_can_be_columns(cls, metadata: dict[str, Any]) -> dict[str, Any]:
        for key in metadata:
            check_column_name(key)
        return metadata

    @model_validator(mode="after")
    def _wells_are_in_one_condition(self) -> ExperimentConfig:
        condition_of: dict[str, str] = {}
        for condition, wells in self.condition_wells.items():
            if condition == UNKNOWN:
                raise ValueError(
                    f"condition_wells: {UNKNOWN!r} means that nothing is known; rename it, or "
                    "leave these wells out"
                )
            if not wells:
                raise ValueError(f"condition_wells.{condition} is empty; list its wells")
            for well in wells:
                if well in condition_of:
                    raise ValueError(
                        f"condition_wells: well {well} is listed in both {condition_of[well]!r} "
                        f"and {condition!r}; remove it from one"
                    )
                condition_of[well] = condition
        return self

    @model_validator(mode="after")
    def _channels_are_distinct(self) -> ExperimentConfig:
        for key in ("name", "marker"):
            values = [getattr(channel, key) for channel in self.channels]
            for value in sorted({v for v in values if values.count(v) > 1}):
                raise ValueError(
                    f"channels: {key} {value!r} is listed twice; give each channel its own"
                )
        return self

    @model_validator(mode="after")
    def _simulation_can_be_drawn(self) -> ExperimentConfig:
        if self.simulation is None:
            return self
        if self.pixel_size_um is None:
            raise ValueError("a simulation needs pixel_size_um; 0.5 is usual")
        for marker in self.markers:
            if marker not in MARKERS:
                raise ValueError(f"marker {marker!r} cannot be drawn; use {', '.join(MARKERS)}")
        return self

    @model_validator(mode="after")
    def _infected_conditions_exist(self) -> ExperimentConfig:
        infected = set(self.simulation.infected_conditions) if self.simulation else set()
        if infected and not infected & set(self.condition_wells):
            raise ValueError(
                f"simulation.infected_conditions: none of {sorted(infected)} is in "
                "condition_wells; name a condition of the entry, or give an empty list"
            )
        return self

    @property
    def patch_store(self) -> PatchStoreConfig | None:
        """How patches are stored; None when they are not."""
        return PatchStoreConfig() if self.patches is True else self.patches or None

    @property
    def condition_of_well(self) -> dict[str, str]:
        """Condition of each well that is used, ``include_wells`` applied."""
        wells = {w: name for name, group in self.condition_wells.items() for w in group}
        if self.include_wells is None:
            return wells
        return {well: name for well, name in wells.items() if well in self.include_wells}

    @property
    def markers(self) -> list[str]:
        """Markers of the channels, in the order of the entry."""
        return [channel.marker for channel in self.channels]

    def channel_name(self, marker: str) -> str:
        """Name in the plate of the channel that shows `marker`.

        Raises
        ------
        KeyError
            When the experiment has no such marker.
        """
        return {channel.marker: channel.name for channel in self.channels}[marker]

    def has_marker(self, marker: str, well: str) -> bool:
        """Whether `marker` is present in `well`."""
        return any(
            c.marker == marker and (c.wells is None or well in c.wells) for c in self.channels
        )

    def hours(self, t: Any) -> Any:
        """Hours post infection at frame `t` (a number or an array)."""
        return self.start_hpi + t * (self.interval_minutes / 60.0)

    def dump(self, exclude: set[str] | None = None) -> dict[str, Any]:
        """Content as JSON values, without defaults.

        Paths inside the working folder become relative to it, so that a result stays valid when the
        whole project folder moves.
        """
        content = self.model_dump(mode="json", exclude=exclude, exclude_defaults=True)
        for key in ("data_path", "tracks_path", "annotations", "truth"):
            if key in content and Path(content[key]).is_relative_to(Path.cwd()):
                content[key] = Path(content[key]).relative_to(Path.cwd()).as_posix()
        return content
