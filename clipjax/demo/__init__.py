"""What `clipjax demo` shows, on what is embedded: pictures answered, and a class design characterised."""

from clipjax.demo.pictures import Pictures as Pictures
from clipjax.demo.pictures import draw as draw
from clipjax.demo.pictures import drawings as drawings
from clipjax.demo.pictures import photographs as photographs
from clipjax.demo.pictures import summary as summary
