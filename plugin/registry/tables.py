"""The lazy dotted strings by which the core reaches models, hosts, readers and writers."""

from __future__ import annotations

# Factories of models: name -> "module:factory". A factory takes options and returns a model of the
# protocol named (`equidrift.protocols`).

# -> ConformerModel; other packages add theirs by an `equidrift.models` entry point
CONFORMER_MODELS = {
    "default": "equidrift.engine.chains:default",
    "etkdg": "equidrift.adapters.rdkit.etkdg:ETKDG",
    "etkdg-mmff": "equidrift.adapters.rdkit.etkdg:ETKDGMMFF",
    "conformer": "equidrift.models.conformers.sampler:load_conformer",
    "conformer-refine": "equidrift.engine.chains:conformer_refine",
    "etkdg-refine": "equidrift.engine.chains:etkdg_refine",
    "etkdg-mmff-refine": "equidrift.engine.chains:etkdg_mmff_refine",
    "torsions-all": "equidrift.engine.chains:with_turns",
    "se3-distance": "equidrift.models.conformers.distance.sampler:load_se3_distance",
    "se3-distance-gauss-newton": "equidrift.models.conformers.distance.sampler:load_gauss_newton",
}
# -> TrajectoryModel
TRAJECTORY_MODELS = {
    "default": "equidrift.models.trajectories.sampler:load_default",
    "geotdm": "equidrift.models.trajectories.sampler:load_geotdm",
    "leap": "equidrift.models.trajectories.sampler:load_leap",
    "md": "equidrift.models.trajectories.md.sampler:DynamicsModel",
    "last-frame": "equidrift.models.trajectories.baselines:LastFrame",
    "constant-velocity": "equidrift.models.trajectories.baselines:ConstantVelocity",
}
# -> MoleculeModel
MOLECULE_MODELS = {
    "default": "equidrift.models.molecules.joint.sampler:load_joint",
    "joint": "equidrift.models.molecules.joint.sampler:load_joint",
    "latent": "equidrift.models.molecules.latent.sampler:load_latent",
    "joint-best-of": "equidrift.models.molecules.select:load_selected",
    "joint-spectra": "equidrift.models.molecules.joint.sampler:load_joint_spectra",
}
# -> Refiner
REFINERS = {
    "refine": "equidrift.models.conformers.sampler:load_refiner",
    "conformer-energy": "equidrift.models.conformers.energy.sampler:load_energy",
    "conformer-energy-elements": "equidrift.models.conformers.energy.sampler:load_elements",
}
# factory(equidrift.montecarlo.adapt.Fit) -> Proposer
PROPOSERS = {
    "torsion": "equidrift.models.torsions.sampler:from_frames",
    "heat-bath": "equidrift.montecarlo.adapt:heat_bath",
    "diffusion": "equidrift.models.torsions.sampler:blocks_from_frames",
    "diffusion-local": "equidrift.models.torsions.sampler:local_from_frames",
    "torsions-all": "equidrift.models.torsions.distances.sampler:from_fit",
    "histogram": "equidrift.montecarlo.adapt:histogram",
    "mixture": "equidrift.montecarlo.adapt:mixture",
    "uniform": "equidrift.montecarlo.adapt:uniform",
}
# "proposer" in a proposer's plain data (its `to_dict`) -> the class, whose `from_dict` reads it
STORED_PROPOSERS = {
    "torsions": "equidrift.montecarlo.proposals:TorsionProposer",
    "local": "equidrift.montecarlo.proposals:LocalTorsionProposer",
    "heat-bath": "equidrift.montecarlo.heat_bath:HeatBathProposer",
    "torsion": "equidrift.models.torsions.sampler:DiffusionProposer",
    "torsions-all": "equidrift.models.torsions.distances.sampler:DistanceProposer",
    "boltzmann": "equidrift.models.boltzmann.sampler:BoltzmannProposer",
    "rigid": "equidrift.models.rigid.proposer:RigidProposer",
    "rigid-local": "equidrift.models.rigid.proposer:LocalRigidProposer",
}

# What `equidrift align` and `equidrift place` call
POSES = {
    "Interaction": "equidrift.models.rigid.placing:Interaction",
    "VinaInteraction": "equidrift.models.rigid.placing:VinaInteraction",
    "chain": "equidrift.models.rigid.placing:chain",
    "place": "equidrift.models.rigid.placing:place",
    "register": "equidrift.models.rigid.registration:register",
}

# Trained models: task in the card -> "module:factory", whose `weights` is the path
TRAINED_MODELS = {
    "generate": "equidrift.models.conformers.sampler:load_conformer",
    "refine": "equidrift.engine.chains:with_refiner",
    "distance": "equidrift.models.conformers.distance.sampler:load_se3_distance",
    "energy": "equidrift.engine.chains:with_refiner",
    "torsions-all": "equidrift.engine.chains:with_turns",
}
TRAINED_REFINERS = {
    "refine": "equidrift.models.conformers.sampler:load_refiner",
    "energy": "equidrift.models.conformers.energy.sampler:load_energy",
}
TRAINED_MOLECULE_MODELS = {
    "joint": "equidrift.models.molecules.joint.sampler:load_joint",
    "molecules-latent": "equidrift.models.molecules.latent.sampler:load_latent",
}
TRAINED_TRAJECTORY_MODELS = {
    "trajectory": "equidrift.models.trajectories.sampler:load_trajectory_model",
    "leap": "equidrift.models.trajectories.sampler:load_trained_leap",
}

# function(molecule, positions_A) -> (positions_A, energies_eV)
RELAXATIONS = {
    "mmff": "equidrift.adapters.rdkit.relaxing:mmff_relax",
    "gfn2": "equidrift.adapters.ase.xtb:gfn2_relax",
}
# prefix of a relaxation's name -> function(what follows the colon) -> a relaxation as above
RELAXATION_MAKERS = {
    "ase": "equidrift.adapters.ase.relax:calculator_relax",
    "openmmml": "equidrift.adapters.openmmml.relax:potential_relax",
}
# function(systems) -> properties that judge new molecules
JUDGES = {
    "network": "equidrift.models.molecules.properties.sampler:network_values",
    "gfn2": "equidrift.adapters.ase.xtb:gfn2_values",
    "rdkit": "equidrift.adapters.rdkit.druglike:graph_values",
}
# family -> "module:function"; function(config, out, budget_s, resume, progress) returns a summary
TRAININGS = {
    "conformers": "equidrift.models.conformers.train:run_training",
    "conformer-energy": "equidrift.models.conformers.energy.train:run_training",
    "trajectories": "equidrift.models.trajectories.train:run_training",
    "torsions": "equidrift.models.torsions.train:run_training",
    "torsions-all": "equidrift.models.torsions.distances.train:run_training",
    "boltzmann": "equidrift.models.boltzmann.train:run_training",
    "fields": "equidrift.models.fields.train:run_training",
    "molecules": "equidrift.models.molecules.train:run_training",
}
# family -> its configs, the usual one first: name -> (key and value that choose it, "module:class")
TRAINING_CONFIGS: dict[str, dict[str, tuple[str, str]]] = {
    "conformers": {
        "conformers": ("", "equidrift.models.conformers.train:ConformerTraining"),
        "distance": (
            "task: distance",
            "equidrift.models.conformers.distance.train:DistanceTraining",
        ),
        "points": ("task: points", "equidrift.models.conformers.points.train:PointTraining"),
    },
    "conformer-energy": {
        "conformer-energy": ("", "equidrift.models.conformers.energy.train:EnergyTraining")
    },
    "trajectories": {
        "trajectories": ("", "equidrift.models.trajectories.config:TrajectoryTraining"),
        "leap": ("kind: leap", "equidrift.models.trajectories.leap.train:LeapTraining"),
        "table": ("learn: table", "equidrift.models.trajectories.integrator.table:TableTraining"),
    },
    "torsions": {"torsions": ("", "equidrift.models.torsions.train:TorsionTraining")},
    "torsions-all": {
        "torsions-all": ("", "equidrift.models.torsions.distances.train:DistanceTraining")
    },
    "boltzmann": {"boltzmann": ("", "equidrift.models.boltzmann.train:BoltzmannTraining")},
    "fields": {
        "points": ("", "equidrift.models.fields.train:FieldTraining"),
        "atoms": ("kind: atoms", "equidrift.models.fields.atoms.train:AtomTraining"),
    },
    "molecules": {
        "joint": ("model: joint", "equidrift.models.molecules.joint.train:JointTraining"),
        "joint-drug": (
            "model: joint-drug",
            "equidrift.models.molecules.joint.drug_train:DrugTraining",
        ),
        "latent": ("model: latent", "equidrift.models.molecules.latent.train:LatentTraining"),
        "properties": (
            "model: properties",
            "equidrift.models.molecules.properties.train:PropertyTraining",
        ),
        "spectra": ("model: spectra", "equidrift.models.molecules.spectra.train:SpectrumTraining"),
    },
}
# name -> "module:function"; function(full, progress) returns the result of its table
BENCHMARKS = {
    "conformers": "equidrift.bench.conformers:run",
    "elements": "equidrift.bench.elements:run",
    "distance-maps": "equidrift.bench.distance_maps:run",
    "poses": "equidrift.bench.poses:run",
    "align": "equidrift.bench.align:run",
    "trajectories": "equidrift.bench.trajectories:run",
    "sampling": "equidrift.bench.sampling:run",
    "dipeptides": "equidrift.bench.dipeptides:run",
    "fields": "equidrift.bench.fields:run",
    "backbones": "equidrift.bench.backbones:run",
    "molecules": "equidrift.bench.molecules:run",
    "rivals": "equidrift.bench.rivals:run",
    "scale": "equidrift.bench.scale:run",
}


# suffix -> "module:function"; function(ensemble, path) writes a whole file, and for
# formats to which
# a piece can be added (`equidrift.files.formats.APPENDED`) takes append=True and first_sample=k
ENSEMBLE_WRITERS = {
    ".sdf": "equidrift.adapters.rdkit.io:write_sdf",
    ".sdf.gz": "equidrift.files.ensembles:write_packed",
    ".mol": "equidrift.adapters.rdkit.io:write_mol",
    ".pdb": "equidrift.adapters.rdkit.io:write_pdb",
    ".xyz": "equidrift.adapters.ase.io:write_ase",
    ".extxyz": "equidrift.adapters.ase.io:write_ase",
    ".traj": "equidrift.adapters.ase.io:write_ase",
    ".xtc": "equidrift.adapters.mdanalysis.writing:write_trajectory",
    ".dcd": "equidrift.adapters.mdanalysis.writing:write_trajectory",
    ".h5md": "equidrift.adapters.mdanalysis.writing:write_trajectory",
    ".npz": "equidrift.files.npz:save_npz",
}
# suffix -> "module:function"; function(trajectory, path) writes a whole file
TRAJECTORY_WRITERS = {
    ".xtc": "equidrift.adapters.mdanalysis.writing:write_trajectory",
    ".dcd": "equidrift.adapters.mdanalysis.writing:write_trajectory",
    ".h5md": "equidrift.adapters.mdanalysis.writing:write_trajectory",
    ".traj": "equidrift.adapters.ase.io:write_trajectory",
    ".extxyz": "equidrift.adapters.ase.io:write_trajectory",
    ".xyz": "equidrift.adapters.ase.io:write_trajectory",
    ".pdb": "equidrift.adapters.rdkit.io:write_pdb",
    ".npz": "equidrift.files.npz:save_trajectory_npz",
}
# suffix -> "module:function"; function(path) -> (positions_A, time_fs | None,
# boxes_A (n_frames, 3, 3) | None, numbers | None)
FRAME_READERS = {
    **dict.fromkeys(
        (".xtc", ".trr", ".dcd", ".h5md", ".nc", ".ncdf", ".pdb"),
        "equidrift.adapters.mdanalysis.frames:read_frames",
    ),
    **dict.fromkeys((".traj", ".extxyz", ".xyz"), "equidrift.adapters.ase.io:read_frames"),
}

# host or family -> name -> where the core finds it; the core imports no host and no model itself
HOST_FUNCTIONS = {
    "ase": {
        "check_solvent": "equidrift.adapters.ase.xtb:check_solvent",
        "ensemble_of": "equidrift.adapters.ase.atoms:ensemble_of",
        "from_arrays": "equidrift.adapters.ase.atoms:from_arrays",
        "from_atoms": "equidrift.adapters.ase.atoms:from_atoms",
        "gfn2_forces": "equidrift.adapters.ase.xtb:gfn2_forces",
        "molecule_of_file": "equidrift.adapters.ase.io:molecule_of_file",
        "read_ensembles": "equidrift.adapters.ase.io:read_ensembles",
        "require_tblite": "equidrift.adapters.ase.xtb:require_tblite",
        "trajectory_of": "equidrift.adapters.ase.frames:trajectory_of",
    },
    "conformers": {
        "ConformerSet": "equidrift.models.conformers.data:ConformerSet",
    },
    "molecules": {
        "spectrum_likelihood": "equidrift.models.molecules.spectra.sampler:spectrum_likelihood",
    },
    "torsions": {
        "turned": "equidrift.models.torsions.distances.conformers:TurnedConformers",
    },
    "mdanalysis": {
        "trajectory_of": "equidrift.adapters.mdanalysis.universe:trajectory_of",
    },
    "openmm": {
        "Langevin": "equidrift.adapters.openmm.simulation:Langevin",
        "ContextMoves": "equidrift.adapters.openmm.moves:ContextMoves",
        "ProposalSampler": "equidrift.adapters.openmm.sampler:ProposalSampler",
        "check_platform": "equidrift.adapters.openmm.simulation:check_platform",
        "close_writers": "equidrift.adapters.openmm.simulation:close_writers",
        "energy_force": "equidrift.adapters.openmm.energy:energy_force",
        "from_topology": "equidrift.adapters.openmm.topology:from_topology",
        "minimiser": "equidrift.adapters.openmm.minimum:minimiser",
        "make_simulation": "equidrift.adapters.openmm.simulation:make_simulation",
        "positions": "equidrift.adapters.openmm.simulation:positions",
        "read_checkpoint": "equidrift.adapters.openmm.checkpoint:read_checkpoint",
        "read_pdb": "equidrift.adapters.openmm.pdb:read_pdb",
        "score_force": "equidrift.adapters.openmm.score:score_force",
        "settle_in": "equidrift.adapters.openmm.settle:settle_in",
        "swarm": "equidrift.adapters.openmm.swarm:swarm",
        "to_system": "equidrift.adapters.openmm.mmff:to_system",
        "to_topology": "equidrift.adapters.openmm.topology:to_topology",
        "turn_terms": "equidrift.adapters.openmm.terms:turn_terms",
        "write_to": "equidrift.adapters.openmm.simulation:write_to",
    },
    "ray": {
        "RayPool": "equidrift.adapters.ray.pool:RayPool",
        "Store": "equidrift.adapters.ray.store:Store",
    },
    "rdkit": {
        "MMFFEnergy": "equidrift.adapters.rdkit.mmff_energy:MMFFEnergy",
        "mmff_interaction": "equidrift.adapters.rdkit.mmff_interaction:interaction",
        "assign_from_3d": "equidrift.adapters.rdkit.perception:assign_from_3d",
        "canonical_key": "equidrift.adapters.rdkit.depiction:flat_key",
        "complete": "equidrift.adapters.rdkit.perception:complete",
        "completed": "equidrift.adapters.rdkit.validity:completed",
        "depiction": "equidrift.adapters.rdkit.depiction:depiction",
        "distinct": "equidrift.adapters.rdkit.rmsd:distinct",
        "ensemble_of": "equidrift.adapters.rdkit.carried:ensemble_of",
        "field_relax": "equidrift.adapters.rdkit.relaxing:field_relax",
        "flat_smiles": "equidrift.adapters.rdkit.molecule:flat_smiles",
        "force_field_of": "equidrift.adapters.rdkit.relaxing:force_field_of",
        "from_mol": "equidrift.adapters.rdkit.molecule:from_mol",
        "from_smiles": "equidrift.adapters.rdkit.molecule:from_smiles",
        "heavy_symmetries": "equidrift.adapters.rdkit.rmsd:heavy_symmetries",
        "isotope_masses_amu": "equidrift.adapters.rdkit.masses:isotope_masses_amu",
        "isotopes_of_masses": "equidrift.adapters.rdkit.masses:isotopes_of_masses",
        "kekulised": "equidrift.adapters.rdkit.validity:kekulised",
        "mmff_relax": "equidrift.adapters.rdkit.relaxing:mmff_relax",
        "mol_block": "equidrift.adapters.rdkit.depiction:mol_block",
        "mol_core": "equidrift.adapters.rdkit.core:mol_core",
        "molecule_from_xyz": "equidrift.adapters.rdkit.perception:molecule_from_xyz",
        "near_references": "equidrift.adapters.rdkit.tethers:near_references",
        "open_stereo": "equidrift.adapters.rdkit.stereo:open_stereo",
        "stereoisomers": "equidrift.adapters.rdkit.stereo:stereoisomers",
        "with_stereo_in_space": "equidrift.adapters.rdkit.stereo:with_stereo_in_space",
        "parameters": "equidrift.adapters.rdkit.mmff:parameters",
        "perceived": "equidrift.adapters.rdkit.validity:perceived",
        "read_core": "equidrift.adapters.rdkit.core:read_core",
        "read_molecules": "equidrift.adapters.rdkit.io:read_molecules",
        "read_places": "equidrift.adapters.rdkit.receptor:read_places",
        "read_receptor": "equidrift.adapters.rdkit.receptor:read_receptor",
        "rmsd_matrix": "equidrift.adapters.rdkit.rmsd:rmsd_matrix",
        "relaxed_around": "equidrift.adapters.rdkit.conditions:relaxed_around",
        "sdf_records": "equidrift.adapters.rdkit.io:sdf_records",
        "smarts_core": "equidrift.adapters.rdkit.core:smarts_core",
        "smarts_matches": "equidrift.adapters.rdkit.matching:smarts_matches",
        "to_mol": "equidrift.adapters.rdkit.molecule:to_mol",
    },
    "vina": {
        "score": "equidrift.adapters.vina.scoring:score",
    },
    "shared": {
        "held_out": "equidrift.models.shared.split:held_out",
    },
}
