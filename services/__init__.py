"""The four services. Each imports `shared` and the `contract` of the others, nothing else."""
