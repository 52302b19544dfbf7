"""Generative against discriminative classifiers: the data, the methods and the sizes of the experiment."""
