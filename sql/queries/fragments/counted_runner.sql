runner
