"""Bad inputs as data, a module a problem: ``GOOD``, the fields of an instance, and ``REFUSED``, what spoils it.

A row of ``REFUSED`` is (changes of the fields, words of the refusal); ``tests/spec/test_refused.py`` runs them all.
"""
