"""Generative against discriminative classifiers: tasks, methods, what each is put through, what was found in words.

``recipes.versus`` has the setting, ``evaluation.report.versus`` the page.
"""
