using System.Globalization;
using FedRLora.Abstractions;
using FedRLora.Abstractions.Plans;

namespace FedRLora.Grains.Store;

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
        if (kept is not { } has)
            throw new BadInputException($"store.{key}: the silos' store is a container, which has its own rules; leave the key out.");
        var name = NameOf(wanted);
        throw new BadInputException($"store.{key}: the plan asks for {name}, the silos keep their store {NameOf(has)}; " +
            $"start them with {option} {name}, or leave the key out.");

        string NameOf(T value) => names[Convert.ToInt32(value, CultureInfo.InvariantCulture)];
    }
}
