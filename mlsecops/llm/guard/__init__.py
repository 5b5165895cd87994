"""Guards of language-model applications: prompts, sessions, tools and answers."""
