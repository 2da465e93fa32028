"""States, transitions, rules and errors of needs; pure: values in, values or refusals out."""
