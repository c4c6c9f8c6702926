"""The tool behind the notebooks: one source per tutorial, built, checked, run and synchronised.

``python -m course --help`` lists the commands; ``docs/contributing.md`` tells when to use which.
The tool works on the checkout it stands in and is not part of the installed package.
"""
