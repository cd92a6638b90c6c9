"""Property regressors and classifiers."""
