"""The program `orbit-lite`: verbs for people and scripts. It offers nothing to import; `main.main` is its entry."""

__all__: list[str] = []
