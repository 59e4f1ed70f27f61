"""Evaluation of distilled sets: students, their training, knowledge distillation."""

from harness.evaluate.students import StudentScore as StudentScore
from harness.evaluate.students import Weights as Weights
from harness.evaluate.students import evaluate as evaluate
from harness.evaluate.students import kd_gain as kd_gain
from harness.evaluate.students import quick_score as quick_score
