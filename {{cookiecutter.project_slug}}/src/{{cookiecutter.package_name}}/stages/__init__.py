"""No stage is here yet: the template's hook writes them, and has not run."""

raise ImportError(
    "this project is incomplete: it was baked without the template's hooks (--accept-hooks no), which write its stages; "
    "see INCOMPLETE.md"
)
