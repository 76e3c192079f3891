using System.Reflection;
using System.Text.Json;
using FedRLora.Abstractions.Messages;
using FedRLora.Abstractions.Ports;
using FedRLora.Federation.Rounds;

namespace FedRLora.Federation.Tests;

/// <summary>What leaves a site: whatever a trainer gives says who may see it, and no message holds what stays.</summary>
public sealed class AudienceTests
{
    private static readonly Type[] Given = [typeof(TrainingResult), typeof(TrainingNumbers), typeof(EvaluationResult)];

    private static readonly TrainingNumbers Numbers =
        new()
        {
            Samples = 1, Steps = 2, MeanLoss = 3, ProductNorm = 4, LastLoss = 5, WaitedSeconds = 6, GateUse = new("layer", 1, 0.75, 0, 2),
        };

    public static TheoryData<string> Properties =>
        [.. Given.SelectMany(static type => type.GetProperties().Select(property => $"{type.Name}.{property.Name}"))];

    [Theory]
    [MemberData(nameof(Properties))]
    public void Whatever_a_trainer_gives_says_who_may_see_it(string name)
    {
        var (type, property) = (Given.Single(type => name.StartsWith(type.Name + ".", StringComparison.Ordinal)), name.Split('.')[1]);
        Assert.NotNull(type.GetProperty(property)!.GetCustomAttribute<GoesToAttribute>());
    }

    [Theory]
    [InlineData(Audience.Site)]
    [InlineData(Audience.Coordinator)]
    [InlineData(Audience.Everyone)]
    public void An_audience_gets_what_it_may_see_of_the_numbers_and_nothing_else(Audience audience)
    {
        var (shown, nothing) = (Numbers.For(audience), new TrainingNumbers());
        Assert.All(typeof(TrainingNumbers).GetProperties(), property =>
        {
            Assert.NotEqual(property.GetValue(nothing), property.GetValue(Numbers)); // or this test would see nothing of it
            var may = property.GetCustomAttribute<GoesToAttribute>()!.Audience >= audience;
            Assert.Equal(property.GetValue(may ? Numbers : nothing), property.GetValue(shown));
        });
    }

    [Fact]
    public void Nothing_that_stays_at_its_site_has_a_place_in_a_report()
    {
        var stays = Given.SelectMany(static type => type.GetProperties())
            .Where(static property => property.GetCustomAttribute<GoesToAttribute>()?.Audience == Audience.Site)
            .SelectMany(static property => (Type[])[property.PropertyType, .. property.PropertyType.GenericTypeArguments])
            .Where(static type => type.Namespace!.StartsWith("FedRLora.", StringComparison.Ordinal)).ToHashSet();
        Assert.Contains(typeof(RowScore), stays);
        var sent = new HashSet<Type>();
        Collect(typeof(SiteReport), sent);
        Assert.Contains(typeof(TrainingNumbers), sent);
        Assert.Empty(sent.Intersect(stays));
    }

    [Fact]
    public void Numbers_for_everyone_stand_in_a_manifest_and_in_what_is_kept_of_a_report()
    {
        string[] expected = [.. typeof(TrainingNumbers).GetProperties()
            .Where(static property => property.GetCustomAttribute<GoesToAttribute>()!.Audience == Audience.Everyone)
            .Select(static property => property.Name)];
        foreach (var document in new[] { typeof(ManifestClient), typeof(KeptReport) })
            Assert.All(expected, name => Assert.NotNull(document.GetProperty(name)));
    }

    [Fact]
    public void A_manifest_gives_its_numbers_back()
    {
        var numbers = Numbers.For(Audience.Everyone);
        var client = new ManifestClient { Id = "a", Outcome = ClientOutcome.Trained, Numbers = numbers };
        var manifest = new RoundManifest { Round = 1, PlanSha256 = "plan", Shared = new BlobDigest("shared", 1), Clients = [client] };
        Assert.Equal(numbers, RoundManifest.Parse(manifest.ToBytes(), "manifest.json").Clients[0].Numbers);
    }

    [Fact]
    public void Reports_that_a_coordinator_of_earlier_versions_kept_are_read()
    {
        var kept = JsonSerializer.Deserialize<KeptReport>(
            """{"Failure":null,"Samples":1,"Steps":2,"MeanLoss":3,"ProductNorm":4,"Refused":false,"Rows":null}""")!;
        Assert.Equal(Numbers.For(Audience.Everyone) with { GateUse = null }, kept.Numbers);
        Assert.Equal(kept, JsonSerializer.Deserialize<KeptReport>(JsonSerializer.Serialize(kept)));
    }

    [Fact]
    public void A_report_without_numbers_is_a_failed_one()
    {
        var plan = TestPlans.Of("a", "b").With(static strategy => strategy with { Quorum = 0.5 });
        var run = new Run(plan).On(new RoundEvent.Started(0, "zero", []));
        run.On(new RoundEvent.ClientReported(TestPlans.Trained(1, "a") with { Numbers = null }));
        Assert.Contains("no numbers of the training", run.State.Reports["a"].Failure, StringComparison.Ordinal);
    }

    private static void Collect(Type type, HashSet<Type> found)
    {
        var part = type.IsGenericType ? type.GenericTypeArguments : [type];
        foreach (var one in part.Where(one => one.Namespace!.StartsWith("FedRLora.", StringComparison.Ordinal) && found.Add(one)))
            foreach (var property in one.GetProperties()) Collect(property.PropertyType, found);
    }
}
