using System.Text.Json;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Federation.Tests.Plans;

public sealed class RoutingJsonTests
{
    [Fact]
    public void A_rule_without_values_is_its_name() => Assert.Equal("\"mean\"", JsonSerializer.Serialize<Routing>(new Routing.Mean()));

    [Fact]
    public void A_rule_with_values_shows_them_so_that_two_of_them_are_not_taken_for_one()
    {
        Assert.Equal("""{"sharp":{"tau":0.5}}""", JsonSerializer.Serialize<Routing>(new Sharp(0.5)));
        Assert.NotEqual(Recorded(new Sharp(0.5)), Recorded(new Sharp(2)));
        Assert.Equal(Recorded(new Sharp(2)), Recorded(new Sharp(2)));

        static string Recorded(Routing routing) => PlanText.ValuesOf(new()
        {
            Name = "p", Model = new() { Path = "m" }, Clients = [], Adapter = new() { Routing = routing },
        });
    }

    private sealed record Sharp(double Tau) : Routing
    {
        public override string Rule => "sharp";
    }
}
