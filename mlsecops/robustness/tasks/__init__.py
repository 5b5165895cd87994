"""Tasks besides classification: regression, several labels at once, and words of a text.

model, x, y → `problem`: `goals`, what a right answer is → `task_adapter`: a class for a right
answer, one for each way to be wrong → attacks (`each_way` of a regression)
texts, words → `texts`: rows of numbers, one for each word that may be replaced → attacks
"""
