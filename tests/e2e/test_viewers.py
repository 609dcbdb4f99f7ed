"""What of a picture is to be seen where no kernel of ours runs: each viewer's own rule for what it shows of an output, on a picture that a kernel drew."""

from html.parser import HTMLParser

import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from kernel import TIMELINE

CODE = """let till = Arc::new(Mutex::new(0).named("till"));
let held = till.lock().unwrap();
let theirs = till.clone();
let ada = spawn_named("<script>ada", move || { *theirs.lock().unwrap() += 1; });
sleep(ms(20));
drop(held);
ada.join().unwrap();"""

# Elements that GitHub lets through, of gjtorikian/html-pipeline's SanitizationFilter, which is what GitHub publishes of its rules. What is not among them goes,
# and its text stays, but for that of a style sheet: pandas writes one into each of its tables, and those are shown well.
GITHUB = set(
    "h1 h2 h3 h4 h5 h6 br b i strong em a pre code img tt div ins del sup sub p ol ul table thead tbody tfoot blockquote dl dt dd kbd q samp var hr ruby rt rp"
    " li tr td th s strike summary details caption figure figcaption abbr bdo cite dfn mark small span time wbr".split()
)
# VS Code takes the first of these that an output has (NOTEBOOK_DISPLAY_ORDER in its notebookCommon.ts), after any that an extension draws.
VS_CODE = ["application/json", "application/javascript", "text/html", "image/svg+xml", "text/latex", "text/markdown", "image/png", "image/jpeg", "text/plain"]


@pytest.fixture(scope="module")
def notebook(installed, tmp_path_factory):
    notebook = new_notebook(cells=[new_code_cell(CODE)])
    where = {"metadata": {"path": str(tmp_path_factory.mktemp("viewers"))}}
    NotebookClient(notebook, kernel_name="threadbook", timeout=300, resources=where).execute()
    return notebook


@pytest.fixture(scope="module")
def picture(notebook):
    [output] = [o for o in notebook.cells[0].outputs if TIMELINE in o.get("data", {})]
    return output.data


class Page(HTMLParser):
    """The elements of a page, and its words outside of style sheets, those of `pre` and of the rest apart."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.pre, self.words, self.within = [], "", "", []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag in ("pre", "style", "table"):
            self.within.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if self.within[-1:] == [tag]:
            self.within.pop()

    def handle_data(self, data):
        match self.within[-1:]:
            case ["pre"]:
                self.pre += data
            case []:
                self.words += data


def test_nbconvert_shows_the_drawing_without_a_script(notebook, picture):
    nbconvert = pytest.importorskip("nbconvert")
    elements = Page(picture["text/html"]).elements
    for template in ("lab", "classic", "basic"):
        html, _ = nbconvert.HTMLExporter(template_name=template).from_notebook_node(notebook)
        page = Page(html).elements
        begins = [at for at, element in enumerate(page) if element == elements[0]]
        assert [page[at : at + len(elements)] for at in begins] == [elements], f"{template}: whole, and once"
    assert "svg" in [tag for tag, _ in elements] and "script" not in [tag for tag, _ in elements]
    handlers = [name for _, attributes in elements for name in attributes if name.startswith("on")]
    outside = [a.get("src") or a.get("href") for _, a in elements if a.get("src") or a.get("href")]
    assert handlers == [] and all(address.startswith("data:image/svg+xml,") for address in outside), "nothing is run, nothing is loaded"


def test_what_github_leaves_of_a_picture_is_an_image_the_text_form_and_the_table(picture):
    page = Page(picture["text/html"])
    left = [(tag, attributes) for tag, attributes in page.elements if tag in GITHUB]
    [image] = [attributes for tag, attributes in left if tag == "img"]
    assert image["src"].startswith("data:image/svg+xml,") and "till" in image["alt"]
    # The text form is whole, and no words lie about that belonged into the drawing.
    assert page.pre.strip() == picture["text/plain"].strip()
    assert page.words.split("As an image and as text")[0].strip() == ""
    assert page.words.split("where the mouse is.")[1].split() == "as a table".split()
    assert "table" in [tag for tag, _ in left] and "details" in [tag for tag, _ in left]


def test_vs_code_takes_the_html_and_in_a_restricted_window_the_text(picture):
    ours = [mime for mime in VS_CODE if mime in picture]
    assert ours == ["text/html", "text/plain"]
    # Of the others it knows none, so none stands before them.
    assert set(picture) - set(ours) == {TIMELINE}
    # It sets the HTML through `innerHTML`, below a body whose class says the theme: what our style sheet asks for.
    assert ".vscode-dark #tb-" in picture["text/html"] and "--vscode-editor-foreground" in picture["text/html"]
