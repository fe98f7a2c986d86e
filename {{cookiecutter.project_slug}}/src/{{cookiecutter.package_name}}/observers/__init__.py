"""Who watches a run, and what they tell of it.

A Diagnosis is attached to the manager before the start. All that is shown of the run comes from its `reading()`: the table,
the verdict
{%- if cookiecutter.diagnosis == 'full' %}, the page, the file for machines, the summary of a trace
{%- endif %}
{%- if cookiecutter.metrics != 'none' %}, the metrics
{%- endif %}. Observers around a run are context managers.
"""
