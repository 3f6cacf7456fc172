"""The reference interpreters, and the comparison with them.

In: a model's file, its graph and inputs. Out: what the interpreter makes of every tensor that the graph has, too, and
where Sateen's values differ. Read ``comparison.py`` first. The interpreters are packages of the extra ``reference``.
"""

from sateen.reference.comparison import Difference, compare, interpreted
from sateen.reference.inputs import image, random_inputs
from sateen.reference.interpreters import Interpreter, interpreter

__all__ = ["Difference", "Interpreter", "compare", "image", "interpreted", "interpreter", "random_inputs"]
