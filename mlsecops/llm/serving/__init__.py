"""Metrics of a served language model, under OpenTelemetry's conventions for generative AI.

    call of a model → instrument → pieces → ObservedAnswer → metrics, span

`instrument_chat` wraps the function that asks the model; `observed_answer` reads what it returns,
whole or in pieces; `usage` reads tokens; `metrics` records.
"""
