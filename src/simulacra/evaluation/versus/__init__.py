"""Generative against discriminative classifiers: tasks, learners, what each is put through, and what was found in words.

``recipes.versus`` has the setting, ``evaluation.report.versus`` the page.
"""
