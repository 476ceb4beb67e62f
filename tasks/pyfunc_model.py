"""A registered version as MLflow serves it: questions in, answers out.

MLflow copies this file beside the weights and runs it when the version is loaded ("models from code"),
so that nothing is pickled. It needs the project importable, and the folders that MLflow hands it.
"""

from typing import Any

from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext


class AnsweringModel(PythonModel):
    """The base, with the version's adapter on it where it has one."""

    def load_context(self, context: PythonModelContext) -> None:
        """Load base and adapter; a base kept by reference must still have the digest it was registered with.

        Raises:
            InputError: the base at the registered path is another one.
        """
        from tasks.serving import Weights, load

        config: dict[str, Any] = (context.model_config or {})["weights"]
        self._weights = load(
            Weights(
                base=context.artifacts.get("base", config["base"]),
                base_digest=config["base_digest"],
                adapter=context.artifacts.get("adapter"),
                adapter_digest=config["adapter_digest"],
                new_tokens=config["new_tokens"],
                batch=config["batch"],
            )
        )

    def predict(
        self, context: PythonModelContext, model_input: list[str], params: dict[str, Any] | None = None
    ) -> list[str]:
        """One answer per question; a data frame with the one column ``question`` does as well."""
        return self._weights.answers(model_input)


set_model(AnsweringModel())
