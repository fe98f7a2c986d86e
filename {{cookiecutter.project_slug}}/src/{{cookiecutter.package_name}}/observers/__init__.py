"""Who watches a run. Each observer is a context manager around it, made with the manager before the start.

An observer samples `manager.report` from a thread of its own, so that it costs the items nothing
{%- if cookiecutter.diagnosis == 'full' %}; only the trace asks to
see each of them pass
{%- endif %}.
"""
