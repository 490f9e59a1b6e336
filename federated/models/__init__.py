"""What is learned: models as sequences of blocks, their parameters, published weights and measured profiles."""
