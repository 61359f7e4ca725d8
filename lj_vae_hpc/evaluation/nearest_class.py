"""The distance to the nearest of the trained γ."""

from abc import abstractmethod
from typing import ClassVar

import numpy as np
from sklearn.covariance import LedoitWolf
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, PowerTransformer, StandardScaler

from lj_vae_hpc.evaluation.order import class_of
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score

FEWEST = 20  # configurations of a class whose distribution is estimated


class NearestClass:
    """Squared Mahalanobis distance of some features from the nearest class, each with its own covariance.

    A normal configuration is one of some γ, no matter which. Covariances are shrunk (Ledoit and Wolf, J. Multivar.
    Anal. 88, 365, 2004).

    Args:
        features: (n, k) of training configurations.
        gamma: (n,) their γ.
        transform: makes each feature of each class as normal as a power can (Yeo and Johnson, Biometrika 87, 954,
            2000).
    """

    def __init__(self, features: Floats, gamma: Floats, transform: bool) -> None:
        classes = class_of(gamma, np.unique(gamma))
        members = [features[classes == k] for k in np.unique(classes)]
        if min(map(len, members)) < FEWEST:
            members = [features]
        self._scalers: list[Pipeline] = []
        self._covariances: list[LedoitWolf] = []
        for some in members:
            power = PowerTransformer(standardize=False) if transform else FunctionTransformer()
            scaler = make_pipeline(StandardScaler(), power, StandardScaler()).fit(some)
            self._scalers.append(scaler)
            self._covariances.append(LedoitWolf().fit(scaler.transform(some)))

    def __call__(self, features: Floats) -> Floats:
        """(n,) the distances."""
        each = [
            covariance.mahalanobis(scaler.transform(features))
            for scaler, covariance in zip(self._scalers, self._covariances, strict=True)
        ]
        return np.asarray(np.min(each, axis=0))


class NearestClassScore(Score):
    """Distance of some features from those of the nearest trained γ."""

    transform: ClassVar[bool]
    """Whether each feature is made as normal as a power can (NearestClass)."""

    @abstractmethod
    def features(self, one: Pass) -> Floats:
        """(n, k) the features."""

    def fit(self, features: Floats, gamma: Floats) -> None:
        """The distribution of each γ."""
        self._nearest = NearestClass(features, gamma, self.transform)

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return self._nearest(self.features(one))
