"""Trajectory models behind the protocol: the learned integrator, the flow and GeoTDM, on molecules (A, fs, K)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from equidrift.errors import InputError, UnknownNameError, WeightsError
from equidrift.models.shared.run import load_network
from equidrift.models.trajectories.arrays.egnn import EGNN, EGNNConfig
from equidrift.models.trajectories.arrays.modes import Modes, ModesConfig
from equidrift.models.trajectories.atom_masks import between, check_mask, conformer_frame, drawn_flow, drawn_geotdm
from equidrift.models.trajectories.data import ELEMENTS, fingerprint, linked, molecule_graph
from equidrift.models.trajectories.diffusion.egtn import EGTNConfig
from equidrift.models.trajectories.diffusion.flow import Flow, FlowConfig, draw_flow
from equidrift.models.trajectories.diffusion.geotdm import GeoTDM, GeoTDMConfig, draw
from equidrift.models.trajectories.integrator.field import FieldConfig
from equidrift.models.trajectories.integrator.integrator import Force, Integrator, IntegratorConfig
from equidrift.models.trajectories.integrator.network import ForceConfig, Graph
from equidrift.models.trajectories.integrator.run import CONTEXT, Guard, _Run, blended, gaps, run_of
from equidrift.protocols import Callback
from equidrift.records import Molecule, Trajectory
from equidrift.seeds import sample_rng
from equidrift.weights import find, read_card

PAIRS_PER_BATCH = 100_000  # n x n x samples: bounds the memory of a call
ATOM_STEPS = 40  # outer steps of the conditional sampler, where single atoms are known


KINDS = ("integrator", "flow", "geotdm", "egnn", "modes")


def make_network(config: dict[str, Any]) -> Integrator | Flow | GeoTDM | EGNN | Modes:
    """The network of a card's `config`, whose key `kind` says which."""
    c = dict(config)
    kind = c.pop("kind")
    if kind == "integrator":
        field = c.pop("field", None)
        return Integrator(IntegratorConfig(ForceConfig(**c.pop("force")), field=FieldConfig(**field) if field else None, **c))
    if kind == "egnn":
        return EGNN(EGNNConfig(**c))
    if kind == "modes":
        return Modes(ModesConfig(**c))
    if kind not in KINDS:
        raise UnknownNameError("kind of trajectory network", kind, KINDS)
    egtn = EGTNConfig(**c.pop("network"))
    return Flow(FlowConfig(egtn, **c)) if kind == "flow" else GeoTDM(GeoTDMConfig(egtn, **c))


class ChemistryModel:
    """What the trajectory models of molecules share: weights, the graph, windows and chains.

    Parameters
    ----------
    weights : name of a shipped model, or the path of a card or safetensors file that `equidrift train` wrote.
    level : level of theory of the dynamics, one of `LEVELS`. None: the one whose training held this molecule, else the one that
        was trained on most molecules.
    device : torch device; None is CUDA where there is one, else the CPU.
    """

    elements = ELEMENTS
    max_atoms = 200
    min_frames = 1
    window = 30  # frames of one call of `complete` in a chain
    kinds: tuple[str, ...] = ()

    def __init__(self, weights: str, *, level: str | None = None, device: str | torch.device | None = None):
        network, self.card = load_network(weights, "trajectory", make_network)
        if (kind := self.card["config"]["kind"]) not in self.kinds:
            raise WeightsError(f"{weights} is a trajectory model of kind {kind!r}, expected {' or '.join(self.kinds)}")
        self.training = dict(self.card["training"])  # spacing_fs, temperature_K, friction_per_fs, length_A, levels
        if level is not None and level not in self.training["levels"]:
            raise UnknownNameError("level of theory of this model", level, self.training["levels"])
        self.level = level
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.network: Integrator | Flow | GeoTDM | EGNN | Modes = network.to(self.device)
        self.name = str(self.card["name"])
        self.weights_sha256 = str(self.card["sha256"])
        self.dt_range_fs: tuple[float, float] = tuple(self.training["spacing_fs"])

    def complete(
        self,
        trajectory: Trajectory,
        given: NDArray[np.bool_],
        seeds: NDArray[np.int64],
        *,
        steps: int | None = None,
        callback: Callback | None = None,
    ) -> NDArray[np.float64]:
        """Samples (len(seeds), n_frames, n_atoms, 3) with the given frames as they came; see `protocols.TrajectoryModel`.

        given : (n_frames,), or (n_frames, n_atoms) where some atoms are known in some frames (`atom_masks`).

        Raises
        ------
        InputError
            where fewer frames are given than the model needs, or frames that are marked as given are not finite.
        """
        given = np.asarray(given, bool)
        if given.ndim == 2 and given.shape == np.shape(trajectory.positions_A)[:2] and (given.all(1) == given.any(1)).all():
            given = np.asarray(given.all(axis=1))
        if given.ndim == 2:
            return self._complete_atoms(trajectory, given, np.asarray(seeds, np.int64), steps)
        if int(given.sum()) < self.min_frames:
            raise InputError(f"{self.name} needs {self.min_frames} given frames, and there are {int(given.sum())}; give more")
        known = np.array(trajectory.positions_A, np.float64)
        if not np.isfinite(known[given]).all():
            raise InputError("frames marked as given hold NaN or infinity; mark them as not given, or mend them")
        known[~given] = 0.0
        centre = known[given].mean((0, 1)) if given.any() else np.zeros(3)
        x = torch.from_numpy(np.where(given[:, None, None], known - centre, 0.0)).to(self.device)
        made = []
        group = max(1, PAIRS_PER_BATCH // trajectory.molecule.n_atoms**2 // (1 if "integrator" in self.kinds else len(x)))
        for start in range(0, len(seeds), group):
            part = np.asarray(seeds[start : start + group], np.int64)
            graph = molecule_graph(trajectory.molecule, self.level_of(trajectory.molecule), len(part)).to(self.device)
            out = self._fill(graph, x[None].expand(len(part), -1, -1, -1), torch.from_numpy(given), trajectory, part, steps, callback)
            made.append(out.cpu().double().numpy() + centre)
        samples = np.concatenate(made) if made else np.zeros((0, *known.shape))
        samples[:, given] = np.asarray(trajectory.positions_A)[given]
        return samples

    def _complete_atoms(
        self, trajectory: Trajectory, given: NDArray[np.bool_], seeds: NDArray[np.int64], steps: int | None
    ) -> NDArray[np.float64]:
        """`complete` where single atoms are given; one sample at a time where its first whole frame is its own."""
        known = check_mask(trajectory, given)
        if "integrator" in self.kinds and not given.all(1).any():
            fullest = int(given.sum(1).argmax())
            made = []
            for seed in seeds.tolist():
                frames, mask = np.array(trajectory.positions_A, np.float64), given.copy()
                frames[fullest] = conformer_frame(trajectory.molecule, frames[fullest], given[fullest], int(seed))
                mask[fullest] = True
                made.append(self._complete_atoms(trajectory.replace(positions_A=frames), mask, np.array([seed], np.int64), steps)[0])
            return np.array(made, np.float64).reshape(len(seeds), *known.shape)
        centre = known[given].mean(0)
        x = torch.from_numpy(np.where(given[..., None], known - centre, 0.0)).to(self.device)
        graph = molecule_graph(trajectory.molecule, self.level_of(trajectory.molecule), len(seeds)).to(self.device)
        with torch.no_grad():
            out = self._fill_atoms(graph, x[None].expand(len(seeds), -1, -1, -1), torch.from_numpy(given), trajectory, seeds, steps)
        samples: NDArray[np.float64] = out.cpu().double().numpy() + centre
        samples[:, given] = np.asarray(trajectory.positions_A)[given]
        return samples

    def _fill_atoms(
        self, graph: Graph, x: Tensor, mask: Tensor, trajectory: Trajectory, seeds: NDArray[np.int64], steps: int | None
    ) -> Tensor:
        """Frames (b, t, n, 3) for atoms known in x where mask (t, n)."""
        raise NotImplementedError

    def level_of(self, molecule: Molecule) -> str:
        """The level of theory whose dynamics a molecule gets."""
        if self.level is not None:
            return self.level
        found = fingerprint(molecule)
        known = [level for level, prints in self.training["known"].items() if found in prints]
        return known[0] if known else max(self.training["levels"], key=lambda level: int(self.training["molecules"][level]))

    def _fill(
        self,
        graph: Graph,
        x: Tensor,
        given: Tensor,
        trajectory: Trajectory,
        seeds: NDArray[np.int64],
        steps: int | None,
        callback: Callback | None,
    ) -> Tensor:
        """Frames (b, t, n, 3) for given ones in x (b, t, n, 3)."""
        raise NotImplementedError

    def continue_(
        self, trajectory: Trajectory, n_frames: int, seeds: NDArray[np.int64], *, steps: int | None = None, callback: Callback | None = None
    ) -> list[Trajectory]:
        """The n_frames behind a trajectory, one Trajectory a seed: windows over `complete`, chained (methods C.5)."""
        dt = trajectory.dt_fs
        time_fs = trajectory.time_fs[-1] + dt * np.arange(1, n_frames + 1)
        out = []
        for seed in np.asarray(seeds).tolist():
            frames, link = np.array(trajectory.positions_A[-CONTEXT:]), 0
            had = len(frames)
            while len(frames) - had < n_frames:
                head = frames[-CONTEXT:]
                new = min(max(1, self.window - len(head)), n_frames - (len(frames) - had))
                blank = np.full((new, *head.shape[1:]), np.nan)
                part = trajectory.replace(positions_A=np.concatenate([head, blank]), time_fs=dt * np.arange(len(head) + new))
                mask = np.arange(len(head) + new) < len(head)
                stream = np.array([link_seed(seed, link)], np.int64)
                frames = np.concatenate([frames, self.complete(part, mask, stream, steps=steps, callback=callback)[0, len(head) :]])
                link += 1
            provenance = {"model": self.name, "weights_sha256": self.card["sha256"], "seed": int(seed), "exact": False}
            out.append(trajectory.replace(positions_A=frames[had:], time_fs=time_fs, provenance=provenance))
        return out


def link_seed(seed: int, link: int) -> int:
    """The seed of a link of a chain; the first link's is the sample's own."""
    return int(seed) if link == 0 else int(np.random.SeedSequence([int(seed), link]).generate_state(1, np.uint64)[0] >> 1)


class IntegratorModel(ChemistryModel):
    """The default: a learned Langevin integrator.

    Parameters
    ----------
    temperature_K, friction_per_fs : of the thermostat; None: what the heavy atoms of the given frames show, drawn towards the training's
        where these are few (fewer than 6 frames: the training's alone), and the training's friction.
    noise : 0 gives the mean path, 1 samples.
    """

    kinds = ("integrator",)
    min_frames = 2

    def __init__(
        self, weights: str, *, temperature_K: float | None = None, friction_per_fs: float | None = None, noise: float = 1.0, **options: Any
    ):
        super().__init__(weights, **options)
        if temperature_K is not None and not 0 < temperature_K < 5000:
            raise InputError(f"temperature_K must lie between 0 and 5000, not {temperature_K}")
        if not 0 <= noise <= 1:
            raise InputError(f"noise must lie in 0 (the mean path) .. 1 (samples), not {noise}")
        self.temperature_K, self.noise = temperature_K, noise
        self._fields: dict[tuple[Molecule, str], Force | None] = {}
        self.friction_per_fs = float(self.training["friction_per_fs"] if friction_per_fs is None else friction_per_fs)

    def field_of(self, molecule: Molecule) -> tuple[str, Force | None]:
        """The level of theory of a molecule, and its force field (`Integrator.classical`), made once."""
        key = molecule, self.level_of(molecule)
        if key not in self._fields:
            known = fingerprint(molecule) in self.training["known"].get(key[1], ())
            self._fields[key] = cast(Integrator, self.network).classical(molecule_graph(*key).to(self.device), known)
        return key[1], self._fields[key]

    def _fill(
        self,
        graph: Graph,
        x: Tensor,
        given: Tensor,
        trajectory: Trajectory,
        seeds: NDArray[np.int64],
        steps: int | None,
        callback: Callback | None,
    ) -> Tensor:
        spacing = float(trajectory.dt_fs)
        run = _Run(self, graph, trajectory.molecule, spacing, seeds)
        out = x.clone()
        for first, last in gaps(given):
            before, after = run_of(given, first - 1, -1), run_of(given, last + 1, +1)
            forward = run.carry(out[:, before], last - first + 1, 0) if before else None
            backward = run.carry(out[:, after], last - first + 1, 1).flip(1) if after else None
            if forward is not None and backward is not None:
                out[:, first : last + 1] = blended(graph, forward, backward)
            else:
                one_sided = forward if forward is not None else backward
                if one_sided is None:
                    raise InputError(f"{self.name} needs given frames beside the gap of frames {first} to {last}")
                out[:, first : last + 1] = one_sided
            if callback is not None:
                callback({"frames": last - first + 1})
        return out

    def _fill_atoms(
        self, graph: Graph, x: Tensor, mask: Tensor, trajectory: Trajectory, seeds: NDArray[np.int64], steps: int | None
    ) -> Tensor:
        run = _Run(self, graph, trajectory.molecule, float(trajectory.dt_fs), seeds)
        return between(run, x, mask, lambda a, b: blended(graph, a, b), lambda frames: Guard(graph, frames))

    def continue_(
        self, trajectory: Trajectory, n_frames: int, seeds: NDArray[np.int64], *, steps: int | None = None, callback: Callback | None = None
    ) -> list[Trajectory]:
        """The n_frames behind a trajectory, one Trajectory a seed. The integrator has no window: one run, whatever its length."""
        head = trajectory.positions_A[-CONTEXT:]
        dt, had = trajectory.dt_fs, len(head)
        blank = np.full((n_frames, *head.shape[1:]), np.nan)
        whole = trajectory.replace(positions_A=np.concatenate([head, blank]), time_fs=dt * np.arange(had + n_frames))
        made = self.complete(whole, np.arange(had + n_frames) < had, seeds, steps=steps, callback=callback)[:, had:]
        time_fs = trajectory.time_fs[-1] + dt * np.arange(1, n_frames + 1)
        common = {"model": self.name, "weights_sha256": self.card["sha256"], "exact": False}
        return [
            trajectory.replace(positions_A=frames, time_fs=time_fs, provenance=common | {"seed": int(seed)})
            for frames, seed in zip(made, seeds)
        ]

    def refine(self, trajectory: Trajectory, seeds: NDArray[np.int64], *, level: float = 0.3) -> NDArray[np.float64]:
        """A coarse trajectory with every frame noised a little and carried downhill by the learned force (methods C.5).

        Raises
        ------
        InputError
            for a level outside 0 .. 1, or a single frame.
        """
        if not 0 < level <= 1:
            raise InputError(f"level must lie above 0 and up to 1, not {level}")
        positions = np.asarray(trajectory.positions_A, np.float64)
        if len(positions) < 2 or not np.isfinite(positions).all():
            raise InputError("refine needs at least two frames, all of them finite; fill gaps by interpolation first")
        centre = positions.mean((0, 1))
        out = []
        for seed in np.asarray(seeds).tolist():
            graph = molecule_graph(trajectory.molecule, self.level_of(trajectory.molecule), 1).to(self.device)
            x = torch.from_numpy(positions - centre)[None].to(self.device)
            run = _Run(self, graph, trajectory.molecule, float(trajectory.dt_fs), np.array([seed]))
            out.append(run.refined(x, level)[0].cpu().numpy() + centre)
        return np.stack(out) if out else np.zeros((0, *positions.shape))














class DiffusionModel(ChemistryModel):
    """The flow or GeoTDM on molecules: any mask, partial noising, chained windows. `steps`: network calls."""

    kinds = ("flow", "geotdm")
    min_frames = 0

    def _normal(self, graph: Graph, frames: int, seeds: NDArray[np.int64]) -> Callable[[], Tensor]:
        streams = [sample_rng(int(seed)) for seed in seeds]
        shape = (frames, graph.mass.shape[1], 3)
        return lambda: torch.from_numpy(np.stack([rng.standard_normal(shape) for rng in streams])).float().to(self.device)

    def _draw(self, graph: Graph, x: Tensor, given: Tensor, dt_fs: float, seeds: NDArray[np.int64], **options: Any) -> Tensor:
        length = float(self.training["length_A"])
        normal = self._normal(graph, x.shape[1], seeds)
        if isinstance(self.network, GeoTDM):
            graph.linked = linked(graph, 3)
            clock = torch.arange(x.shape[1], dtype=torch.float32, device=self.device)
            return length * draw(self.network, graph, x.float() / length, clock, given.to(self.device), normal, **options)
        clock = torch.arange(x.shape[1], dtype=torch.float32, device=self.device) * dt_fs / 5.0
        flow = cast(Flow, self.network)
        return length * draw_flow(flow, graph, x.float() / length, clock, given.to(self.device), normal, **options)

    def _fill(
        self,
        graph: Graph,
        x: Tensor,
        given: Tensor,
        trajectory: Trajectory,
        seeds: NDArray[np.int64],
        steps: int | None,
        callback: Callback | None,
    ) -> Tensor:
        return self._draw(graph, x, given, float(trajectory.dt_fs), seeds, steps=steps, callback=callback)

    def _fill_atoms(
        self, graph: Graph, x: Tensor, mask: Tensor, trajectory: Trajectory, seeds: NDArray[np.int64], steps: int | None
    ) -> Tensor:
        length = float(self.training["length_A"])
        normal = self._normal(graph, x.shape[1], seeds)
        clock = torch.arange(x.shape[1], dtype=torch.float32, device=self.device)
        mask = mask.to(self.device)
        if isinstance(self.network, GeoTDM):
            graph.linked = linked(graph, 3)
            return length * drawn_geotdm(self.network, graph, x.float() / length, clock, mask, normal, steps or ATOM_STEPS)
        clock = clock * float(trajectory.dt_fs) / 5.0
        return length * drawn_flow(cast(Flow, self.network), graph, x.float() / length, clock, mask, normal, steps or ATOM_STEPS)

    def refine(self, trajectory: Trajectory, seeds: NDArray[np.int64], *, level: float = 0.3) -> NDArray[np.float64]:
        """Partial noising of a coarse trajectory (methods C.5): noised up to the share `level`, and denoised.

        Raises
        ------
        InputError
            for a level outside 0 .. 1, or frames that are not finite.
        """
        if not 0 < level <= 1:
            raise InputError(f"level must lie above 0 and up to 1, not {level}")
        positions = np.asarray(trajectory.positions_A, np.float64)
        if not np.isfinite(positions).all():
            raise InputError("refine needs frames that are all finite; fill gaps by interpolation first")
        centre = positions.mean((0, 1))
        seeds = np.asarray(seeds, np.int64)
        graph = molecule_graph(trajectory.molecule, self.level_of(trajectory.molecule), len(seeds)).to(self.device)
        x = torch.from_numpy(positions - centre)[None].expand(len(seeds), -1, -1, -1).to(self.device)
        none = torch.zeros(len(positions), dtype=torch.bool)
        start = x.float() / float(self.training["length_A"])
        return self._draw(graph, x, none, float(trajectory.dt_fs), seeds, start=start, level=level).cpu().double().numpy() + centre


def load_trajectory_model(weights: str, **options: Any) -> ChemistryModel:
    """The trajectory model of a card: an `IntegratorModel` or a `DiffusionModel`."""
    kind = read_card(find(weights))["config"].get("kind")
    return (IntegratorModel if kind == "integrator" else DiffusionModel)(weights, **options)


def load_default(**options: Any) -> IntegratorModel:
    """The default model, with the shipped weights."""
    return IntegratorModel("trajectory", **options)


def load_geotdm(**options: Any) -> DiffusionModel:
    """The faithful GeoTDM, with the shipped weights."""
    return DiffusionModel("geotdm", **options)
