"""Tables as users have them, read as numbers: by column name, with texts, dates and nesting.

frame, records, arrays → `containers` → columns → `column_kinds` → `schema` → rows (n, d)
                         (`encoders`, `texts`, `dates`, `pictures`)
"""
