"""A prompt learned as a job."""


def learn(learning_id: str) -> None:
    """`worker.tasks.learn` under the name that jobs of an earlier release have."""
    from worker.learning import task

    task.learn(learning_id)
