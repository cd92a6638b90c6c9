"""System A's second domain (arXiv:2403.01430): sets of labelled points that are no
molecules, such as poses of a skeleton.
"""
