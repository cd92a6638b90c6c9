"""Hand-over to the OpenFF toolkit and to openmmforcefields, if they are installed.

Both come from conda-forge: `conda install -c conda-forge openff-toolkit
openmmforcefields`.
"""
