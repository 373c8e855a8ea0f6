"""The colours of pictures, and an empty figure."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

INK = "#010203"  # stands for the colour of the text, whatever it will be
BLUE, ORANGE = "#2f7fc1", "#d9730d"  # at least 3 to 1 against both backgrounds


def blank_figure(size: tuple[float, float]) -> Figure:
    """A figure of that width and height, in inches."""
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure
