"""Learning: a prompt learned as a job."""


def learn(learning_id: str) -> None:
    """Learns the prompt of a stored job. RQ calls it by this name, which queued jobs hold."""
    from worker.learning import task

    task.learn(learning_id)
