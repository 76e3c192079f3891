using FedRLora.Training.Tests.Adapters;
using FedRLora.Training.Tests.Adapters.Peft;
using FedRLora.Training.Tests.Chat;
using FedRLora.Training.Tests.Gguf;
using FedRLora.Training.Tests.Models;
using FedRLora.Training.Tests.Objectives;
using FedRLora.Training.Tests.Quantization;
using FedRLora.Training.Tests.Tokenizers;

namespace FedRLora.Training.Tests.Golden;

/// <summary>No reference numbers are passed over: what lies in the shared folder runs, or its kind is in <c>not-yet.txt</c>.</summary>
public sealed class GoldenTests
{
    // The data of every theory that runs fixtures.
    private static readonly IReadOnlyList<TheoryData<string>> Theories =
    [
        ModelFixtureTests.Folders, PeftFixtureTests.Folders, TokenizerFixtureTests.Folders, ChatFixtureTests.Folders,
        StoriesModelTests.Folders, SituationTests.Places, GgufTokenizerFixtureTests.Folders,
        CombinationTests.Folders, MultitaskLayerFixtureTests.Routed, MultitaskLayerFixtureTests.DrawnAgain, ForeignAdapterTests.Folders,
        PeftLayerTests.Folders,
        GatedLayerTests.All,
        WeightStartTests.Folders,
        VeraLayerTests.Folders,
        AdapterLifecycleTests.Folders,
        MergeRulesTests.Folders,
        AggregationFixtureTests.Rules,
        AggregationFixtureTests.MeansOfFactors,
        AggregationFixtureTests.Flower,
        AggregationFixtureTests.OpenFedLlm,
        AggregationFixtureTests.Scaffold,
        AggregationFixtureTests.Buffered,
        AlignmentFixtureTests.Folders,
        LocalStepFixtureTests.Places,
        MultiLoraTests.Folders,
        TaskCoreTests.Layers,
        TaskPairTests.Folders,
        AdapterLifecycleTests.Folders,
        GgufModelTests.Files,
        GgufModelTests.Adapters,
        GgufBadTests.Folders,
        RealModelTests.Files,
        GgmlBlockTests.Files,
        GgmlQuantizerTests.Files,
        Nf4Tests.Codes,
        Nf4Tests.Tensors,
        Nf4Tests.Layers,
    ];

    [SharedFact]
    public void Every_file_belongs_to_a_fixture_that_is_recognized() => AssertNone(Fixtures.Tree.Unknown, "nothing knows what this is");

    [SharedFact]
    public void Every_fixture_runs_or_its_kind_is_listed_as_not_yet()
    {
        var runs = Theories.SelectMany(static theory => theory.Cast<object[]>().Select(static row => (string)row[0])).ToHashSet();
        var idle = Fixtures.Tree.All.Where(fixture => !runs.Contains(fixture.Place) && !NotYet.Has(fixture.Kind));
        AssertNone(idle, "no test runs it, and its kind is not in not-yet.txt");
    }

    [SharedFact]
    public void Every_line_of_not_yet_names_a_fixture() => AssertNone(
        NotYet.Kinds.Where(static kind => !Fixtures.Tree.All.Any(fixture => NotYet.Matches(kind, fixture.Kind))),
        "no fixture is of this kind: remove the line from not-yet.txt");

    [SharedFact]
    public void Nothing_is_listed_that_the_product_takes() => AssertNone(
        Fixtures.Tree.All.Where(static fixture => NotYet.Has(fixture.Kind) && Fixtures.IsRefused(fixture) == false),
        "the product takes it: remove its kind from not-yet.txt");

    [SharedFact]
    public void A_second_copy_under_other_names_and_deeper_is_the_same_again()
    {
        using var root = new TemporaryFolder();
        Directory.CreateDirectory(root.File("fixtures/further"));
        var number = 0;
        void Link(string folder, string under) => Directory.CreateSymbolicLink(root.File($"{under}/{number++}"), SharedFolder.Of(folder));
        foreach (var folder in SharedFolder.FoldersOf("fixtures")) Link("fixtures/" + folder, "fixtures/further");
        foreach (var folder in SharedFolder.FoldersOf("fixtures", "methods")) Link("fixtures/methods/" + folder, "fixtures");
        foreach (var folder in Fixtures.Roots.Where(static root => root != "fixtures")) Link(folder, "fixtures/further");

        var again = new FixtureTree(root.Root, "fixtures");

        Assert.Empty(again.Unknown);
        var methods = Fixtures.Tree.All.Where(static fixture => fixture.Folder.StartsWith("fixtures/methods/", StringComparison.Ordinal));
        Assert.Equal(
            Fixtures.Tree.All.Concat(methods).Select(static fixture => (fixture.Kind, fixture.Part)).Order(),
            again.All.Select(static fixture => (fixture.Kind, fixture.Part)).Order());
    }

    [Fact]
    public void A_folder_that_nothing_recognizes_is_named()
    {
        using var root = new TemporaryFolder();
        Directory.CreateDirectory(root.File("fixtures/some/thing"));
        File.WriteAllText(root.File("fixtures/some/README.md"), "What it is.");
        File.WriteAllText(root.File("fixtures/some/thing/expected.json"), """{"source": {"repository": "a/b"}}""");
        File.WriteAllText(root.File("fixtures/some/thing/tensors.safetensors"), "not one");

        var tree = new FixtureTree(root.Root, "fixtures");

        Assert.Empty(tree.All);
        Assert.Equal(["fixtures/some/thing/expected.json", "fixtures/some/thing/tensors.safetensors"], tree.Unknown);
    }

    private static void AssertNone<T>(IEnumerable<T> wrong, string why)
    {
        var lines = wrong.Select(entry => $"{entry}: {why}").ToList();
        Assert.True(lines.Count == 0, string.Join('\n', lines));
    }
}
