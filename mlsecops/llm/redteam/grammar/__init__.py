"""Grammar of attempts: texts in nine languages, tasks, scenes, mutators and the user's application.

`texts/*.toml` → `attack_texts` → `tasks`, `scenes` → `families` → `mutators` → `generator`
`application`, `own_attempts`: the user's system message, documents, tools and attempts
"""
