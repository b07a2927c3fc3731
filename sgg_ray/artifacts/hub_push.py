"""An exported folder as a repository of the Hugging Face hub."""

import re
from pathlib import Path

from sgg_ray.errors import ClusterError, ConfigError, one_line

REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def check_push(repository: str) -> str:
    """See whether a folder could be pushed, before it is made.

    Returns:
        The token: that of ``HF_TOKEN``, or of ``hf auth login``.

    Raises:
        ConfigError: the name is none of a repository, or there is no token.
    """
    from huggingface_hub import get_token

    if not REPOSITORY.fullmatch(repository):
        raise ConfigError(f"--push: must be owner/name of a repository, found {repository!r}")
    token = get_token()
    if token is None:
        raise ConfigError("--push: no token for the hub; set HF_TOKEN, or run `hf auth login`")
    return token


def push(folder: Path, repository: str, token: str, public: bool = False) -> str:
    """Make the repository where there is none, and put the folder's files, card included, into one commit.

    ``HF_ENDPOINT`` names another hub.

    Args:
        folder: an exported model.
        repository: owner/name.
        token: of an account that may write there. It is in no message.
        public: a repository that is made is visible to all; one that is there stays as it is.

    Returns:
        The commit's address.

    Raises:
        ClusterError: the hub refuses, or is not reached. The folder stays.
    """
    from huggingface_hub import HfApi

    api = HfApi(token=token)
    try:
        api.create_repo(repository, private=not public, exist_ok=True, repo_type="model")
        commit = api.upload_folder(
            repo_id=repository, folder_path=folder, commit_message="Model exported by sgg_ray"
        )
    except Exception as error:  # those of HTTP are of another library with each version of the hub's
        said = one_line(str(error).replace(token, "…"))
        raise ClusterError(
            f"--push: {repository} was not written ({said}); the model is in {folder}"
        ) from None
    return str(commit.commit_url)
