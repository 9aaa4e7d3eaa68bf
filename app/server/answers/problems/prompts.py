"""Models and prompts that are not there, not usable, or not to be changed."""

from app.server.answers.problems.problem import Problem


class ModelNotFound(Problem):
    status, code = 404, "model_not_found"
    text = "There is no model with this id. GET /models lists those there are."


class PromptNotFound(Problem):
    status, code = 404, "prompt_not_found"
    text = "There is no prompt with this id or digest. GET /prompts lists those there are."


class PromptJobUnknown(Problem):
    status, code = 404, "prompt_job_unknown"
    text = "There is no job of learning with this id; it never was, or its time to live has passed."


class PromptIdTaken(Problem):
    status, code = 409, "prompt_id_taken"
    text = "The id names another prompt, or named one before its removal; choose another id."


class PromptShips(Problem):
    status, code = 409, "prompt_ships"
    text = "This prompt ships with the service and cannot be removed."


class PromptKept(Problem):
    status, code = 409, "prompt_kept"
    text = "This prompt was tuned on an image; it stays as long as the certificates that name it."


class PromptFormatUnsupported(Problem):
    status, code = 415, "prompt_format_unsupported"
    text = (
        "Expected safetensors with one tensor ctx, or a prompt in JSON as GET /prompts/{id}/ctx "
        "has it. A checkpoint of torch is taken by the command promptsmooth prompts import alone."
    )


class ModelUnknown(Problem):
    status, code = 422, "model_unknown"
    text = "There is no model with this id; `known` lists those there are."


class PromptInvalid(Problem):
    status, code = 422, "prompt_invalid"
    text = "The file holds no prompt, or none for this model; `detail` says what was expected."


class TrainingImagesInvalid(Problem):
    status, code = 422, "training_images_invalid"
    text = "The images are not enough, not labelled or not readable; nothing was queued."
