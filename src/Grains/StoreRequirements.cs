using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Grains;

/// <summary>What a plan asks of the stores, which on silos were opened before there was a plan.</summary>
internal static class StoreRequirements
{
    /// <exception cref="BadInputException">The plan asks for what the silos' store is not.</exception>
    public static void Require(StoreSpec asked, StoreSpec? kept)
    {
        Require("mode", "--store-mode", asked.Mode, kept?.Mode, StoreSpec.Modes);
        Require("durability", "--durability", asked.Durability, kept?.Durability, StoreSpec.Durabilities);
    }

    private static void Require<T>(string key, string option, T? asked, T? kept, IReadOnlyList<string> names)
        where T : struct, Enum
    {
        if (asked is not { } wanted || EqualityComparer<T?>.Default.Equals(asked, kept)) return;
        var name = names[Convert.ToInt32(wanted, System.Globalization.CultureInfo.InvariantCulture)];
        throw new BadInputException(kept is { } has
            ? $"store.{key}: the plan asks for {name}, the silos keep their store {names[Convert.ToInt32(has, System.Globalization.CultureInfo.InvariantCulture)]}; start them with {option} {name}, or leave the key out."
            : $"store.{key}: the silos' store is a container, which has its own rules; leave the key out.");
    }
}
