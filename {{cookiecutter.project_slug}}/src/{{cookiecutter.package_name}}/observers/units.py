"""Numbers as people read them."""


def duration(seconds: float) -> str:
    """A time with its unit, in three digits: 12 µs, 4.5 ms, 3.2 s, 2:05 min, 7:03 h."""
    if seconds >= 5999.5:
        return "{}:{:02} h".format(*divmod(round(seconds / 60), 60))
    if seconds >= 99.95:
        return "{}:{:02} min".format(*divmod(round(seconds), 60))
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= 0.9995 * size:
            return f"{_digits(seconds / size)} {unit}"
    return f"{_digits(seconds / 1e-6)} µs" if seconds else "0 s"


def rate(items: float) -> str:
    """Items a second, in three digits: 0.25, 12, 4.5k, 1.2M."""
    for suffix, size in (("M", 1e6), ("k", 1e3)):
        if items >= 0.9995 * size:
            return f"{_digits(items / size)}{suffix}"
    return _digits(items)


def _digits(number: float) -> str:
    """Three digits, and no zeros behind the point that say nothing."""
    text = f"{number:.{2 if number < 9.995 else 1 if number < 99.95 else 0}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
