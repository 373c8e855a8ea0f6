"""Settings of runs that tests can afford."""

from algorithms import MSGRPOConfig

SMALL_RUN = MSGRPOConfig(
    updates=5,
    groups=4,
    group_size=8,
    kept_episodes=4,
    max_reply_tokens=3,
    learning_rate=0.2,
    kl_coefficient=0.0,
)
