"""Learning: a prompt learned as a job."""


def learn(learning_id: str) -> None:
    """`worker.tasks.learn`, under the name that jobs queued by an earlier release use."""
    from worker.learning import task

    task.learn(learning_id)
