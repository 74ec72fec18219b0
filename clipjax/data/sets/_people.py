"""What every data set of people says of itself."""

NOTICE = (
    "Out of scope (OpenAI's model card): any use for surveillance or facial recognition, whatever the performance; "
    "this data set serves to measure how a model treats people. Its labels are the data set's own categories, assigned "
    "by others, not what the people shown say of themselves. "
)
