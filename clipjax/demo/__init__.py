"""What `clipjax demo` shows, on what is embedded: images answered, and a class design characterised."""

from clipjax.demo.images import ImageSet as ImageSet
from clipjax.demo.images import answer as answer
from clipjax.demo.images import draw as draw
from clipjax.demo.images import drawings as drawings
from clipjax.demo.images import photographs as photographs
from clipjax.demo.images import summary as summary
